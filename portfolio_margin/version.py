"""The version of the engine, stated in every statement."""

VERSION = "0.1.0"
