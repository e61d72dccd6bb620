"""The data plane of an agent: tensors to and from other agents, requests from clients, link measurements.

In order of use: `limits`, `host` (what is asked of the agent), `plane` (the one object the agent holds), `outgoing` (this
agent's connection to each peer), `incoming` (connections others opened), `forwarding` (requests passed on to another
agent), `measurement` (estimates, pure), `emulation` (openly labelled stand-in for real links).
"""
