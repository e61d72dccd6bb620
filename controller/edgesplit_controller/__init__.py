"""The controller: what runs where, decided and brought about."""
