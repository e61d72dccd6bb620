"""The controller: what runs where, decided and brought about."""

from edgesplit.daemon.telemetry_off import stay_discreet

stay_discreet()
