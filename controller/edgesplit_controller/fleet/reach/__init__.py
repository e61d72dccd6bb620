"""Reach of deployments: which nodes their plans may use, and so which links have to be measured."""
