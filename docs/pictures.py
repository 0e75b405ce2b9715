"""Make the pictures of `docs/report.md`: race for a minute, write the page, and photograph parts of it.

    python docs/pictures.py            # on the reference competition; real files where PIPELINE_DATA_DIR has them
    python docs/pictures.py --root .   # of the runs that are already there

Needs Chromium on the PATH and Playwright (extra `dev`).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

COMPETITION = "house-prices"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PICTURES = Path(__file__).parent / "pictures"
# file -> the parts of the page that it shows, the width of the window, the theme
SHOTS = {
    "report-runs.png": ("#runs .figures", 1440, "light"),
    "report-drivers.png": ("#drivers .figures", 1440, "light"),
    "report-errors.png": ("#errors .figures", 1440, "dark"),
}


def main() -> None:
    """Write the pictures into `docs/pictures/`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, help="The folder that holds data/; default: a new one.")
    given = parser.parse_args().root
    with tempfile.TemporaryDirectory() as scratch:
        root = given or trained(Path(scratch))
        run("report", root)
        photograph(root / "data" / COMPETITION / "report" / "index.html")


def trained(root: Path) -> Path:
    """Race for a minute in a new folder."""
    here = Path(__file__).resolve().parents[1] / "data" / COMPETITION
    folder = root / "data" / COMPETITION
    folder.mkdir(parents=True)
    for name in ("competition.toml", "feature_function.py"):
        shutil.copy(here / name, folder / name)
    run("submit", root, "--no-upload")
    return root


def run(command: str, root: Path, *options: str) -> None:
    """Run a command of the pipeline."""
    where = ["--competition", COMPETITION, "--root", str(root)]
    subprocess.run([sys.executable, "-m", "pipeline", command, *where, *options], check=True)


def photograph(page: Path) -> None:
    """Take the pictures: of each part of the page, the first elements that fit its selectors, one below the other."""
    from playwright.sync_api import sync_playwright

    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        sys.exit(f"none of {', '.join(BROWSERS)} is on the PATH")
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for name, (selectors, width, theme) in SHOTS.items():
            window = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
            window.goto(page.resolve().as_uri())
            boxes = [window.locator(one).first.bounding_box() for one in selectors.split(", ")]
            known = [box for box in boxes if box is not None]
            top, left = min(box["y"] for box in known) - 16, min(box["x"] for box in known) - 16
            right = max(box["x"] + box["width"] for box in known) + 16
            bottom = min(max(box["y"] + box["height"] for box in known) + 16, top + 1500)
            clip = {"x": left, "y": top, "width": right - left, "height": bottom - top}
            window.screenshot(path=str(PICTURES / name), full_page=True, clip=clip)
            print(PICTURES / name)
        browser.close()


if __name__ == "__main__":
    main()
