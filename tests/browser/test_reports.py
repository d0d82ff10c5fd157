"""The reports' pages in a real browser: wide, on a phone, in the dark and in print; nothing is asked of any network.

What a reader sees belongs here; the numbers do not. With `VISITAS_FOTOS` set to a folder, the pages are kept there as
pictures.
"""

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.fixtures import Database
from tests.support.history import seed
from tests.support.pipeline import settings_for
from visitas_dagster.closing.report_files import write_daily, write_monthly
from visitas_dagster.loading import tables
from visitas_dagster.loading.schema import upgrade
from visitas_dagster.resources.platform import Platform

pytestmark = pytest.mark.databases("sqlite")

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-sync"]

LAST = date(2026, 11, 24)
HOSTILE = "<script>document.title='tomado'</script><img src=http://fuera.example/x onerror=alert(1)>"

KINDS = ["diario", "mensual"]
# Width and height of a screen, and whether it is dark.
SCREENS = {"ancha": (1280, 900, False), "oscura": (1280, 900, True), "telefono": (390, 844, False)}


@pytest.fixture
def pages(database: Database, tmp_path: Path) -> dict[str, Path]:
    """Give a daily and a monthly page over two months of files of every fate, hostile names among them."""
    with Platform(
        settings_for(database.url, {}, tmp_path / "etl"), clock=lambda: datetime(2026, 11, 24, 20, tzinfo=UTC)
    ) as platform:
        upgrade(platform.engine)
        seed(platform.engine, platform.settings.zone, date(2026, 9, 26), 60)
        moment = datetime(2026, 11, 24, 19)
        with platform.engine.begin() as connection:
            connection.execute(
                sa.insert(tables.bitacora_control).values(
                    archivo=HOSTILE,
                    estado="FALLO_LAYOUT",
                    intentos=1,
                    inicio=moment,
                    fin=moment,
                    duracion_ms=10**7,
                    mensaje=f"{HOSTILE} {'x' * 300} ana@example.com",
                    vigente=True,
                )
            )
        return {"diario": write_daily(platform, LAST).html, "mensual": write_monthly(platform, 2026, 11).html}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Seen:
    """A page that was opened, and what went wrong or out on it.

    Attributes:
        page: Playwright's.
        said: script errors and complaints of the console, those of the page's policy among them.
        asked: every address that was asked for.
    """

    def __init__(self, chromium: Browser, path: Path, screen: str) -> None:
        """Open it."""
        width, height, dark = SCREENS[screen]
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page: Page = chromium.new_page(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        if folder := os.environ.get("VISITAS_FOTOS"):
            self.page.screenshot(path=Path(folder) / f"{path.stem}_{screen}.png", full_page=True)


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_breaks_nothing_is_asked_for_and_nothing_sticks_out(
    chromium: Browser, pages: dict[str, Path], kind: str, screen: str
) -> None:
    seen = Seen(chromium, pages[kind], screen)
    assert seen.said == []
    assert seen.asked == [pages[kind].as_uri()]
    assert seen.page.title().startswith("visitas · ")
    assert seen.page.evaluate("document.documentElement.scrollWidth") == SCREENS[screen][0]
    seen.page.close()


@pytest.mark.parametrize("screen", ["ancha", "telefono"])
def test_no_letter_of_a_chart_sticks_out_of_its_card(chromium: Browser, pages: dict[str, Path], screen: str) -> None:
    seen = Seen(chromium, pages["diario"], screen)
    outside = seen.page.evaluate(
        """[...document.querySelectorAll('section svg text')].filter(text => {
            const own = text.getBoundingClientRect(), card = text.closest('section').getBoundingClientRect();
            return own.width && (own.left < card.left || own.right > card.right || own.bottom > card.bottom);
        }).map(text => text.textContent)"""
    )
    assert outside == []
    seen.page.close()


def test_every_chart_is_drawn_and_told_in_words(chromium: Browser, pages: dict[str, Path]) -> None:
    for kind, count in (("diario", 10), ("mensual", 12)):
        seen = Seen(chromium, pages[kind], "ancha")
        boxes = [box for chart in seen.page.locator("section svg").all() if (box := chart.bounding_box())]
        assert len(boxes) == count
        assert all(box["width"] > 300 and box["height"] > 30 for box in boxes)
        titles = seen.page.locator("section h2").all_inner_texts()
        assert len(set(titles)) == len(titles)
        assert {"Estados", "Errores más frecuentes", "Archivos más lentos"} <= set(titles)
        seen.page.close()


def test_markup_from_outside_is_text(chromium: Browser, pages: dict[str, Path]) -> None:
    seen = Seen(chromium, pages["diario"], "ancha")
    assert seen.page.locator("script, img, iframe, object, link[rel=stylesheet]").count() == 0
    assert seen.page.get_by_text(HOSTILE, exact=True).count() >= 1
    assert "ana@" not in seen.page.content()
    assert "xxx@xxxxxxx.xxx" in seen.page.inner_text("main")
    seen.page.close()


@pytest.mark.parametrize("screen", ["ancha", "oscura"])
def test_text_can_be_told_from_its_ground(chromium: Browser, pages: dict[str, Path], screen: str) -> None:
    """The contrast of WCAG 2.2, level AA: 4.5 to 1."""
    seen = Seen(chromium, pages["diario"], screen)
    pairs = seen.page.evaluate(
        """[...document.querySelectorAll('h1, h2, p, dt, dd, td, th, li, svg text')].map(element => {
            const style = getComputedStyle(element);
            let ground = element, colour = 'rgba(0, 0, 0, 0)';
            while (ground && colour === 'rgba(0, 0, 0, 0)') {
                colour = getComputedStyle(ground).backgroundColor; ground = ground.parentElement;
            }
            return [element instanceof SVGElement ? style.fill : style.color, colour];
        })"""
    )
    assert len(pairs) > 100
    assert {pair: found for pair in {tuple(pair) for pair in pairs} if (found := contrast(*pair)) < 4.5} == {}
    seen.page.close()


def contrast(colour: str, ground: str) -> float:
    lighter, darker = sorted((luminance(colour), luminance(ground)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    """The relative luminance of ``rgb(r, g, b)``, by WCAG's formula."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_in_print_it_is_dark_on_white_and_fits_the_sheet(
    chromium: Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    seen = Seen(chromium, pages["mensual"], "oscura")
    seen.page.emulate_media(media="print")
    # A letter sheet less its margins, at 96 to the inch.
    seen.page.set_viewport_size({"width": 710, "height": 950})
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert seen.page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 710
    sheet = seen.page.pdf(path=tmp_path / "hoja.pdf", format="Letter")
    assert sheet.startswith(b"%PDF-")
    seen.page.close()
