"""The README tells the options as the code has them."""

from pathlib import Path

from support.readme_options import table

README = Path(__file__).parent.parent / "README.md"


def test_the_readme_has_the_table_of_options():
    assert "\n".join(table()) in README.read_text()
