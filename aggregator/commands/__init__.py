"""What the command line can do: one module a group of commands, each imported only when it is asked for."""
