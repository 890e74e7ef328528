"""The command `lateen`: one module a command, loaded when it is used. No logic."""
