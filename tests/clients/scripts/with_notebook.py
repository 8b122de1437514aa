"""A notebook with JupySQL: cells of SQL, a result as a data frame, a plot; executed as a person would run it."""

import nbformat
from nbclient import NotebookClient

from steps import URL, run

CELLS = [
    "%load_ext sql\n%config SqlMagic.displaycon = False\nimport matplotlib\nmatplotlib.use('Agg')",
    f"%sql postgresql+psycopg2://postgres@{URL}",
    "%sql SELECT count(*) AS penguins FROM penguins",
    "%%sql --save by_species\nSELECT species, body_mass_g FROM penguins WHERE body_mass_g IS NOT NULL",
    "frame = %sql SELECT species, PREDICT(mass USING *) AS predicted FROM penguins LIMIT 5\nframe.DataFrame()",
    "%sqlcmd tables",
    "%sqlcmd columns --table readings",
    "%sqlplot histogram --table by_species --column body_mass_g --with by_species",
]


def executes():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    shown = [str(output) for cell in notebook.cells for output in cell.outputs]
    text = "\n".join(shown)
    assert "344" in text, text
    assert "predicted" in text and "readings" in text and "NUMERIC(10, 2)" in text, text
    assert "image/png" in text or "Axes" in text, text


run(executes)
