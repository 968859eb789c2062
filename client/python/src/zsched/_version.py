"""The version, as CMakeLists.txt of the project has it (a test compares)."""

VERSION = "0.1.0"
