"""The wire: what messages there are (schema, constants), and how they lie in a FlatBuffer (layout, layouts), and how they are
read and written (reader, writer)."""
