"""A name that begins with _ is nobody's function."""
