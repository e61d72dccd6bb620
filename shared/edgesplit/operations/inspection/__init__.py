"""Operations of whoever looks at a running fleet: what is wrong, what goes on, what a request took."""
