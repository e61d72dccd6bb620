"""Checks that need an accelerator (`make test-gpu`); no tests of pytest, for they leave figures."""
