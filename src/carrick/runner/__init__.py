"""The child process that runs function code, and the wire between it and the host."""
