"""Colours that can be told apart, also by the colour-blind, on a light and on a dark page."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st


@dataclass(frozen=True)
class Colours:
    """Colours by what they say.

    Attributes
    ----------
    accent
        What the chart is about; what adds.
    second
        What stands against it; what takes away.
    quiet
        What is there for comparison.
    text
        Labels inside a chart.
    """

    accent: str
    second: str
    quiet: str
    text: str


LIGHT = Colours(accent="#0f766e", second="#c2410c", quiet="#8b9bb0", text="#14272b")
DARK = Colours(accent="#2dd4bf", second="#fb923c", quiet="#7d8da3", text="#e5eeee")


def colours() -> Colours:
    """Those for the page as it is now."""
    return DARK if st.context.theme.type == "dark" else LIGHT
