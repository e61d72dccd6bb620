"""The controller: what runs where, decided and brought about."""

from edgesplit.daemon.inference_runtime.telemetry_off import stay_discreet

stay_discreet()
