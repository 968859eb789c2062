"""The wire: what messages there are (schema, constants), and how they are read and written (reader, writer, tasks)."""
