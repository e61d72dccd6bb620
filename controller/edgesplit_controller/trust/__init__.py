"""The fleet's own authority: who gets a certificate, who loses it, and what the broker lets each holder do."""
