"""Scenarios: what an experiment is, as a TOML file and as frozen values.

Owns: the values, reading and checking of files, the shipped ones, and how measured rates become one. Its rule: pure but for
reading the file it is given; a mistake in a file is a sentence that names line and key. Not here: machines that are made of it
(`lab/testbed`), the order in which it is run (`lab/running`).
"""
