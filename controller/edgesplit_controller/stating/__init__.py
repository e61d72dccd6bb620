"""Stating the planning problem: from model, fleet and goals to split-problem/1."""
