"""The controller: what runs where, decided and brought about."""

from edgesplit.discretion import stay_discreet

stay_discreet()
