"""The app: ``streamlit run streamlit_app/app.py``."""

from __future__ import annotations

import streamlit as st


def main() -> None:
    """Lay out the pages and show the one that was chosen."""
    st.set_page_config(page_title="Customer lifetime value", page_icon=":material/monitoring:", layout="wide")
    pages = [
        st.Page("views/portfolio.py", title="Portfolio", icon=":material/groups:", url_path="portfolio", default=True),
        st.Page("views/model.py", title="Model", icon=":material/fact_check:", url_path="model"),
    ]
    st.navigation(pages, position="sidebar").run()


if __name__ == "__main__":
    main()
