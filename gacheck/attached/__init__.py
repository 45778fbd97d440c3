"""Somebody's training command: the child process, who keeps what it tells, and the record of that."""
