"""The label page in headless Chromium: real clicks, keys and fingers; skipped where there is no Chromium."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path

import pytest
from PIL import Image
from webdriver import CHROMIUM, DRIVER, Driver

from prefrl_cli.label_page.address import ADDRESS_FILE
from prefrl_cli.label_page.server import serve
from prefrl_cli.preference.database import AnswerDatabase, Asked

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="no Chromium here; on Debian: apt-get install chromium-driver"
)
SIZE = 8
AXE = Path(__file__).parents[1] / "node_modules" / "axe-core" / "axe.min.js"  # npm install --no-save axe-core
NUMBER = "return question && question.question"


def maze(moves):
    """A film of a maze: so many moves to the right, row by row."""
    return {"kind": "maze", "size": SIZE, "walls": [27, 28], "goal": SIZE * SIZE - 1, "path": list(range(moves + 1))}


def shapes(turns):
    frames = []
    for turn in range(20):
        x = 0.1 * turns + 0.8 * turn * turns / 20
        frames.append([
            {"kind": "line", "points": [[0, 0.1], [1, 0.1]]},
            {"kind": "circle", "centre": [x, 0.5], "radius": 0.1, "colour": "agent"},
            {"kind": "polygon", "points": [[x, 0.7], [x + 0.1, 0.7], [x, 0.9]], "colour": "goal"},
        ])  # fmt: skip
    return {"kind": "shapes", "frames": frames}


def images(colour):
    frames = []
    for shade in range(4):
        file = io.BytesIO()
        Image.new("RGB", (8, 4), tuple(60 + 40 * shade if one else 0 for one in colour)).save(file, "png")
        frames.append(base64.b64encode(file.getvalue()).decode())
    return {"kind": "images", "frames": frames}


@pytest.fixture(scope="module")
def driver():
    found = Driver()
    yield found
    found.close()


@pytest.fixture(scope="module")
def wide(driver, tmp_path_factory):
    found = driver.browser(tmp_path_factory.mktemp("wide"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def narrow(driver, tmp_path_factory):
    found = driver.browser(tmp_path_factory.mktemp("narrow"), 400, 800, dark=True, touch=True)
    yield found
    found.close()


class Page:
    """A run's database and server, and the page in a browser."""

    def __init__(self, folder, clips=None):
        self.folder = folder
        self.database = AnswerDatabase(folder / "answers.sqlite")
        metrics = [{"name": "success", "words": "success", "unit": "share of episodes"}]
        self.database.note(budget=10, seeds=1, metrics=metrics)
        self.ask(clips or [(maze(10 + number), maze(20 + number)) for number in range(8)])
        self.server = serve(self.database, folder / ADDRESS_FILE)

    def ask(self, clips, first=0):
        both = enumerate(clips, first)
        self.database.ask([Asked(7, number, f"hash {number}", "left", pair) for number, pair in both], first)

    def open(self, browser):
        browser.open(self.server.url)
        browser.console()  # what stood there before
        return browser.wait(NUMBER)

    def answers(self):
        """What stands: answer, whether strong, the question, and seconds."""
        text = "SELECT answer, strong, question, seconds FROM answers a WHERE answer NOT IN ('undo', 'done') AND NOT"
        return self.database.rows(f"{text} EXISTS (SELECT 1 FROM answers u WHERE u.undoes = a.id) ORDER BY id")

    def close(self):
        self.server.close()
        self.database.close()


@pytest.fixture
def page(tmp_path):
    found = Page(tmp_path)
    yield found
    found.close()


def status(browser):
    return browser.text("#status")


def after(browser, number):
    """Wait for the next films; which."""
    return browser.wait(f"return !busy && question && question.question !== {number} && question.question")


MEASURE = """
const style = one => getComputedStyle(one), root = document.documentElement;
const linear = x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
const light = colour => {
  const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(x => linear(x / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
const paper = style(document.body).backgroundColor, box = one => one.getBoundingClientRect();
const seen = name => [...document.querySelectorAll(name)].filter(one => one.checkVisibility());
return {
  paper, room: root.clientWidth, content: root.scrollWidth,
  text: contrast(style(document.body).color, paper),
  soft: contrast(style(document.querySelector(".soft")).color, paper),
  touch: Math.min(...seen("button, select").map(one => box(one).height)),
  films: ["left", "right"].map(id => [box(document.getElementById(id)).x, box(document.getElementById(id)).width]),
  same: box(document.getElementById("left")).y === box(document.getElementById("right")).y,
  answers: Math.max(...seen("[data-answer]").map(one => box(one).bottom)),
};
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1600, 1280, 400])
def test_it_fits_wide_and_narrow_light_and_dark(wide, page, tmp_path, width, dark):
    browser, usual = wide, wide.look
    browser.set_look(width, 900, dark=dark, touch=width == 400)
    page.database.note(film=maze(40))
    for step in range(5):
        page.database.report(step, {"success": step / 4, "loss": 0.8})
    page.open(browser)
    browser.wait("return !document.getElementById('film-figure').hidden")
    found = browser.run(MEASURE)
    assert found["room"] == width and found["content"] <= width
    assert found["paper"] == ("rgb(21, 23, 26)" if dark else "rgb(255, 255, 255)")
    assert found["text"] >= 7 and found["soft"] >= 4.5 and found["touch"] >= 40
    assert found["same"] and found["films"][0][0] + found["films"][0][1] <= found["films"][1][0]
    assert min(side for _, side in found["films"]) > 150
    assert found["answers"] <= 900  # both films and all answers are seen at once
    assert browser.run("return document.getElementById('curve').querySelectorAll('polyline').length") == 1
    assert browser.text("#figures").split() == ["success", "1", "(share", "of", "episodes)"]
    browser.picture(tmp_path / "page.png")
    assert len(Image.open(tmp_path / "page.png").convert("RGB").getcolors(1 << 20)) > 20
    assert browser.console() == []
    browser.set_look(*usual)


@pytest.mark.parametrize("how", ["mouse", "touch", "keys"])
def test_every_answer(request, page, how):
    browser = request.getfixturevalue("narrow" if how == "touch" else "wide")
    keys = {"left": "ArrowLeft", "right": "ArrowRight", "equal": "ArrowUp", "cannot_tell": "ArrowDown"}
    number, numbers = page.open(browser), []
    for answer, key in keys.items():
        numbers.append(number)
        if how == "keys":
            browser.press(key)
        else:
            (browser.touch if how == "touch" else browser.click)(f"[data-answer={answer}]")
        number = after(browser, number)
        assert status(browser).startswith("Saved: ")
    if how == "keys":
        browser.press("Shift", "ArrowRight")
    else:
        (browser.touch if how == "touch" else browser.click)("#strong")
        assert browser.run("return document.getElementById('strong').getAttribute('aria-pressed')") == "true"
        browser.click("[data-answer=right]")
    after(browser, number)
    assert status(browser) == "Saved: much: right is better."
    kept = page.answers()
    assert [one[:3] for one in kept[:4]] == [(answer, 0, one) for answer, one in zip(keys, numbers, strict=True)]
    assert kept[4][:3] == ("right", 1, number) and all(0 < one[3] < 60 for one in kept)
    assert browser.run("return document.getElementById('strong').getAttribute('aria-pressed')") == "false"
    browser.wait("return document.getElementById('counts').innerText.startsWith('5 answers given')")
    assert browser.console() == []


def test_a_held_key_or_two_quick_ones_answer_one_question(wide, page):
    number = page.open(wide)
    wide.run("""
      document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft", bubbles: true }));
      document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft", bubbles: true, repeat: true }));
      document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
    """)
    after(wide, number)
    assert [one[0] for one in page.answers()] == ["left"]


def test_answers_are_taken_back_to_the_first(wide, page):
    first = page.open(wide)
    wide.press("ArrowLeft")
    second = after(wide, first)
    wide.press("ArrowLeft")
    third = after(wide, second)
    wide.press("u")
    assert after(wide, third) == second and "taken back" in status(wide)
    wide.click("#undo")
    assert after(wide, second) == first
    assert page.answers() == []
    wide.press("Backspace")
    wide.wait("return document.getElementById('status').innerText === 'There is no answer to take back.'")
    for _ in range(3):  # then those that were put aside come again, in their order
        number = wide.run(NUMBER)
        wide.press("ArrowRight")
        after(wide, number)
    assert [(one[0], one[2]) for one in page.answers()] == [("right", one) for one in (first, second, third)]
    errors = [one for one in wide.console() if "409" not in one]  # the browser itself tells of the reply
    assert errors == []


def test_films_run_together_and_can_be_scrubbed(wide, page):
    page.open(wide)
    wide.wait("return films.playing && films.frame > 2")
    assert wide.run("return films.frames") == 21  # of the longer one
    wide.wait("return films.frame === 20")
    wide.wait("return films.frame === 0")  # from the beginning
    wide.press(" ")
    assert wide.run("return films.playing") is False and wide.text("#play") == "Play"
    frame = wide.run("return films.frame")
    wide.press(".")
    wide.press(".")
    wide.click("#back")
    assert wide.run("return films.frame") == frame + 1
    assert wide.text("#frame") == f"{frame + 2} / 21"
    wide.press("End")
    assert wide.run("return films.frame") == 20
    wide.press("Home")
    wide.drag("#place", 0.75)
    assert 13 <= wide.run("return films.frame") <= 17 and wide.run("return films.playing") is False
    number = wide.run(NUMBER)
    wide.press("ArrowRight")  # moves the slider, which has the focus, and answers nothing
    assert wide.run(NUMBER) == number and page.answers() == []
    wide.press("Escape")
    wide.press("ArrowRight")
    after(wide, number)
    assert wide.run("return films.playing") is True
    assert wide.console() == []


def test_speed(wide, page):
    page.open(wide)
    frames = {}
    for key, speed in (("1", 0.5), ("4", 4)):
        wide.press(key)
        assert wide.run("return [films.speed, document.getElementById('speed').value]") == [speed, str(speed)]
        frames[speed] = wide.run("""
          films.go(0);
          films.play(false);
          films.playing = true;
          films.then = 1000;
          requestAnimationFrame = () => 0;  // this clock is ours
          films.tick(1400);
          films.playing = false;
          return films.frame;
        """)
    assert frames == {0.5: 1, 4: 12}  # 0.4 seconds, 8 frames a second
    wide.run("document.getElementById('speed').focus()")
    wide.press("ArrowUp")  # changes the speed, and answers nothing
    assert wide.run("return films.speed") == 2 and page.answers() == []


def test_help(wide, page):
    page.open(wide)
    wide.press("?")
    assert wide.run("return document.getElementById('help').open && document.activeElement.id") == "close-help"
    assert "much better" in wide.text("#help")
    wide.press("ArrowLeft")  # answers nothing behind it
    wide.press("Escape")
    assert wide.run("return document.getElementById('help').open") is False
    wide.click("#help-button")
    wide.click("#close-help")
    assert wide.run("return document.getElementById('help').open") is False
    assert page.answers() == [] and wide.console() == []


def test_two_tabs_have_different_questions(wide, page):
    first, tab = page.open(wide), wide.tab()
    wide.new_tab()
    second = page.open(wide)
    assert first != second
    wide.press("ArrowLeft")
    after(wide, second)
    wide.ask("DELETE", "/window")
    wide.go_to(tab)
    assert wide.run(NUMBER) == first
    wide.open(page.server.url)  # loaded again, it has its question still
    assert wide.wait(NUMBER) == first
    wide.press("ArrowRight")
    after(wide, first)
    assert {one[2]: one[0] for one in page.answers()} == {second: "left", first: "right"}


def test_offline_and_back(wide, page):
    number = page.open(wide)
    wide.offline(True)
    wide.press("ArrowLeft")
    wide.wait("return !document.getElementById('notice').hidden")
    assert "not saved yet" in wide.text("#notice") and status(wide) == "Saving …"
    wide.press("ArrowRight")  # there is an answer already
    wide.press("u")
    assert page.answers() == []
    wide.offline(False)
    after(wide, number)
    wide.wait("return document.getElementById('notice').hidden")
    assert [one[0] for one in page.answers()] == ["left"]


def test_an_answer_whose_reply_was_lost_counts_once(wide, page, monkeypatch):
    number, lost = page.open(wide), []
    answer = page.database.answer

    def lose(*given):
        answer(*given)
        if not lost:
            lost.append(given)
            raise ConnectionResetError  # as if the cable were pulled after it was kept

    monkeypatch.setattr(page.database, "answer", lambda *given: lose(*given) or answer(*given))
    wide.press("ArrowLeft")
    after(wide, number)
    assert lost and [one[0] for one in page.answers()] == ["left"]


def test_a_run_is_stopped_and_resumed_while_the_page_stays_open(wide, page):
    number = page.open(wide)
    page.server.close()  # a killed process says nothing
    wide.press("ArrowLeft")
    wide.wait("return document.getElementById('notice').innerText.includes('resume it')")
    page.server = serve(page.database, page.folder / ADDRESS_FILE)
    second = after(wide, number)
    assert [one[:3:2] for one in page.answers()] == [("left", number)] and second != number


def test_an_unsent_answer_outlasts_a_reload(wide, page):
    number = page.open(wide)
    page.server.close()
    wide.press("ArrowRight")
    wide.wait("return !document.getElementById('notice').hidden")
    page.server = serve(page.database, page.folder / ADDRESS_FILE)
    wide.open(page.server.url)
    after(wide, number)
    assert [one[:3:2] for one in page.answers()] == [("right", number)]


def test_no_question_waits_until_one_does(wide, tmp_path):
    page = Page(tmp_path, [(maze(5), maze(6))])
    number = page.open(wide)
    wide.press("ArrowLeft")
    wide.wait("return document.getElementById('status').innerText.includes('No question waits')")
    assert status(wide).startswith("Saved: left is better.")
    assert wide.run("return document.getElementById('question').hidden") is True
    page.ask([(maze(7), maze(8))], 1)
    assert after(wide, number) != number and "No question" not in status(wide)
    assert wide.console() == []
    page.close()


def test_the_model_s_guess_is_told_after_the_answer_and_its_curve_is_drawn(wide, page):
    page.database.execute("INSERT INTO guesses SELECT id, 0.8 FROM questions")  # of the left one
    page.database.note(guess=True, metrics=[{"name": "guessed", "words": "guessed", "unit": ""}])
    number = page.open(wide)
    assert "guess" not in wide.text("body")
    wide.press("ArrowRight")
    after(wide, number)
    assert status(wide) == "Saved: right is better. The model’s guess was left, 80 %."
    for metrics, seen in (("guessed", "curve"), ("success guessed", "guessed")):
        named = [{"name": name, "words": f"share of {name}", "unit": ""} for name in metrics.split()]
        page.database.note(metrics=named)
        for step in (1, 2):
            page.database.report(step, {"success": 0.5, "guessed": step / 4})
        wide.wait(f"return document.getElementById('{seen}-title').innerText === 'share of guessed'")
        label = wide.run(f"return document.getElementById('{seen}').getAttribute('aria-label')")
        assert label == "share of guessed: 0.25 at step 1, 0.5 at step 2; between 0.25 and 0.5."
    assert wide.console() == []


def test_done_and_the_end_of_training(wide, page):
    page.open(wide)
    wide.click("#done")
    assert "press again" in status(wide)
    wide.press("Tab")  # not so
    assert wide.text("#done") == "I am done"
    wide.click("#done")
    wide.click("#done")
    wide.wait("return document.getElementById('status').innerText.startsWith('Thank you')")
    assert page.database.progress()["done"] and wide.run("return document.getElementById('question').hidden")
    share = {"value": 0.9, "ci95": [0.6, 0.98], "number": 10}
    habits = {"answers": 100, "left": share, "equal": share, "cannot_tell": share, "seconds": 2.5, "drift": None}
    agreement = {"self_agreement": share, "between_raters": {**share, "kappa": 0.8}, "model": share}
    page.database.note(reliability={**agreement, "raters": {"anna": habits}})
    page.server.close("Training has finished.")
    wide.wait("return document.getElementById('status').innerText === 'Training has finished.'")
    assert wide.text("#figures").splitlines() == [
        "answers of anna",
        "100: 90 % left of left and right, 90 % equal, 90 % can’t tell, 2.5 s each",
        "agreement with oneself",
        "90 % of 10 questions that came twice, 95 % interval 60 % to 98 %",
        "agreement between people",
        "90 % of 10 questions that came twice, 95 % interval 60 % to 98 %, kappa 0.8",
        "guessed by the model before it saw them",
        "90 % of 10 answers, 95 % interval 60 % to 98 %",
    ]
    time.sleep(1)
    assert wide.run("return document.getElementById('notice').hidden") is True


@pytest.mark.parametrize(
    "clips", [(shapes(1.0), shapes(0.5)), (images((1, 0, 0)), images((0, 1, 0)))], ids=["shapes", "images"]
)
def test_other_films_move(wide, tmp_path, clips):
    page = Page(tmp_path, [clips])
    page.open(wide)
    wide.press(" ")
    pictures = []
    for key in ("Home", "End"):
        wide.press(key)
        time.sleep(0.2)
        pictures.append(wide.run("return ['left', 'right'].map(id => document.getElementById(id).toDataURL())"))
    assert len({picture for both in pictures for picture in both}) == 4
    said = wide.run("return document.getElementById('left').getAttribute('aria-label')")
    moved = "begins 10 % across and 50 % up, ends 86 % across and 50 % up"
    assert moved in said if clips[0]["kind"] == "shapes" else said == "Left film: 4 pictures."
    colours = (
        Image.open(io.BytesIO(base64.b64decode(pictures[0][0].partition(",")[2]))).convert("RGBA").getcolors(1 << 20)
    )
    assert len(colours) > 1
    assert wide.console() == []
    page.close()


def test_a_screen_reader_has_names_for_all_and_is_told_what_happens(wide, page):
    number = page.open(wide)
    tree = wide.devtools("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "slider", "combobox", "textbox", "image")
    named = [(one["role"]["value"], one.get("name", {}).get("value")) for one in tree if not one["ignored"]]
    named = [one for one in named if one[0] in roles]
    assert len(named) >= 14 and all(name for _, name in named), named
    assert any(
        name and name.startswith("Left film: 10 moves in a maze of 8 by 8, from row 1, column 1") for _, name in named
    )
    assert wide.run(
        "return ['status', 'spoken', 'notice'].map(id => { const one = document.getElementById(id); "
        "return one.getAttribute('role') || one.getAttribute('aria-live'); })"
    ) == ["status", "polite", "alert"]
    assert "Right film" in wide.run("return document.getElementById('spoken').textContent")
    reached = []
    for _ in range(20):  # by the keyboard alone
        wide.press("Tab")
        reached.append(wide.run("return document.activeElement.dataset.answer || document.activeElement.id"))
    controls = {"help-button", "play", "back", "place", "forward", "speed", "strong", "undo", "done", "rater"}
    assert controls | {"left", "right", "equal", "cannot_tell"} <= set(reached)
    wide.run("document.querySelector('[data-answer=equal]').focus()")
    wide.press("Enter")
    after(wide, number)
    assert [one[0] for one in page.answers()] == ["equal"]
    assert wide.run("return document.activeElement.dataset.answer") == "equal"  # the focus stays


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core here: npm install --no-save axe-core")
@pytest.mark.parametrize("name", ["wide", "narrow"])
def test_axe_finds_nothing_serious(request, page, name):
    browser = request.getfixturevalue(name)
    page.database.note(film=maze(40))
    for step in range(5):
        page.database.report(step, {"success": step / 4})
    page.open(browser)
    browser.wait("return !document.getElementById('film-figure').hidden")
    for before in ("", "document.getElementById('help').showModal();", "warn('A notice.');"):
        found = browser.ask("POST", "/execute/async", {"args": [], "script": f"{before}{AXE.read_text()};"
            "axe.run().then(found => arguments[arguments.length - 1](found.violations.map("
            "one => [one.impact, one.id, one.nodes.map(node => node.html)])))"})  # fmt: skip
        assert found == []
        browser.run("document.getElementById('help').close()")
