"""From goals to a served plan.

Owns: the deployments of models. Its rule: what serves stays until its successor serves. Not here: the planner itself,
cutting and quantizing, which are packages of their own.

Read in the order problems, replanning, compilation, planning (one plan is made), rollout, state, rollouts (nodes get
there), deployer (when and why).
"""
