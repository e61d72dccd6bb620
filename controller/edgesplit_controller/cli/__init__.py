"""splitctl, the operator's tool.

Owns: the command line, its output and its exit codes. Its rule: what is decided is decided by the controller; here it
is asked for and shown. Not here: planning, graph work and daemons.
"""
