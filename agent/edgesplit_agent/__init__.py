"""The agent: the daemon on each machine that measures, serves components and streams tensors to other agents."""

from edgesplit.daemon.inference_runtime.telemetry_off import stay_discreet

stay_discreet()
