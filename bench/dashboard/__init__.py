"""The dashboard as a browser has it: pages opened in Chromium, what they cost, and their pictures (`python -m bench.dashboard`)."""
