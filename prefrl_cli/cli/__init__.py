"""The commands: one file each; the only room that knows exit codes and arguments."""
