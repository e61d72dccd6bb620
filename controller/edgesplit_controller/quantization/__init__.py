"""int8 forms of models and the noise they cause.

Owns: what turns a float graph and calibration samples into quantized graphs and a noise model. Its rule: one
calibration serves every choice of quantized operators. Not here: finding units, cutting, planning.

Read in the order calibration, ranges, parameters, sites, qdq, segments, patterns, regression, noise, profile_graphs.
"""
