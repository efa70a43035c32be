"""Policies: in which order an account is closed. One file each, with `Params` and `plan`; no policy knows another."""
