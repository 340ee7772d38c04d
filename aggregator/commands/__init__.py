"""The commands of the command line: one module for each group, imported only when one of its commands is called."""
