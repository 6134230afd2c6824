"""The app: ``streamlit run streamlit_app/app.py``."""

from __future__ import annotations

import sys
from pathlib import Path

# Streamlit knows the folder of this file only, and Community Cloud installs the packages but not this project.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import streamlit as st

from streamlit_app import page, preferences, service


def main() -> None:
    """Lay out the pages and show the one that was chosen."""
    st.set_page_config(
        page_title="Customer lifetime value",
        page_icon=":material/monitoring:",
        layout="wide",
        initial_sidebar_state=230,
    )
    pages = [
        st.Page("views/portfolio.py", title="Portfolio", icon=":material/groups:", url_path="portfolio", default=True),
        st.Page("views/customer.py", title="Customer", icon=":material/person_search:", url_path="customer"),
        st.Page("views/budget.py", title="Budget", icon=":material/savings:", url_path="budget"),
        st.Page("views/model.py", title="Model", icon=":material/fact_check:", url_path="model"),
    ]
    chosen = st.navigation(pages, position="sidebar")
    page.carry_on()
    preferences.show()
    if (label := service.label()) is not None:
        st.info(label, icon=":material/science:")
    chosen.run()


if __name__ == "__main__":
    main()
