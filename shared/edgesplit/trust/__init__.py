"""Who is who: roles in certificates, files of a program's identity, TLS contexts, signed messages, tokens, whom a node lets in."""
