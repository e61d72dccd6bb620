"""The linear relaxation of the flow formulation: bounds where elimination has to leave transfers out."""
