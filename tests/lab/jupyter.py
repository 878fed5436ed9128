"""A real JupyterLab in a real browser without a window: for tests that move what a reader would move."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import JavascriptException, StaleElementReferenceException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TOKEN = secrets.token_hex(16)
PATIENCE = 180.0
"""Seconds until something is taken for broken: how fast a machine is decides nothing."""


def program(names: Sequence[str], package: str) -> str:
    """The first program of these that is installed; without one the test fails, since nobody would notice that it is never run."""
    found = next((path for name in names if (path := shutil.which(name)) is not None), None)
    if found is None:
        pytest.fail(
            f"{' or '.join(names)} is not on the PATH: install {package} (on Debian: apt-get install {package})"
        )
    return found


def written(folder: Path, cells: Sequence[str]) -> Path:
    """A notebook of these code cells."""
    path = folder / "notebook.ipynb"
    empty = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {
        "cells": [{**empty, "id": f"cell-{number}", "source": one} for number, one in enumerate(cells)],
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The address of a JupyterLab that was started in a folder, on a port that is free, with settings of its own."""
    private = folder / ".private"
    homes = {name: private / name.lower() for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR")}
    homes["JUPYTERLAB_SETTINGS_DIR"] = private / "settings"
    homes["JUPYTERLAB_WORKSPACES_DIR"] = private / "workspaces"
    homes["IPYTHONDIR"] = private / "ipython"
    for home in homes.values():
        home.mkdir(parents=True)
    settings = homes["JUPYTER_CONFIG_DIR"] / "labconfig" / "page_config.json"
    settings.parent.mkdir()
    settings.write_text(json.dumps({"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}))
    log = private / "log.txt"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.port=0"]
    command += [f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}", "--expose-app-in-browser"]
    environment = {**os.environ, **{name: str(path) for name, path in homes.items()}}
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process:
        try:
            yield _address(process, homes["JUPYTER_RUNTIME_DIR"], log)
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        for file in runtime.glob("jpserver-*.json"):
            try:
                return str(json.loads(file.read_text())["url"])
            except ValueError:  # it is being written
                continue
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


@contextmanager
def browser(profile: Path, size: tuple[int, int] = (1500, 1100)) -> Iterator[webdriver.Chrome]:
    """Chromium without a window, with a profile of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location = program(BROWSERS, "chromium")
    for argument in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "disable-background-networking"),
        *("disable-component-update", "disable-sync", "no-first-run", f"window-size={size[0]},{size[1]}"),
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(program(("chromedriver",), "chromium-driver")))
    try:
        driver.set_script_timeout(PATIENCE)
        driver.execute_cdp_cmd(
            "Emulation.setFocusEmulationEnabled", {"enabled": True}
        )  # commands go to what has the focus
        yield driver
    finally:
        driver.quit()


class Page:
    """A notebook that is open in JupyterLab.

    Args:
        driver: The browser.
        address: Of the server.
        path: Of the notebook, relative to the folder of the server.
    """

    def __init__(self, driver: webdriver.Chrome, address: str, path: str) -> None:
        self.driver = driver
        driver.get(f"{address}lab/tree/{path}?token={TOKEN}")
        self.until(lambda: self._says("return window.jupyterapp !== undefined"), "JupyterLab has loaded")
        self.until(lambda: self._says(_READY), "the kernel is ready")

    def _says(self, script: str) -> Any:
        try:
            return self.driver.execute_script(script)
        except JavascriptException:
            return False

    def command(self, name: str, arguments: Mapping[str, Any] | None = None) -> None:
        """Do what a menu of JupyterLab does."""
        script = "const done = arguments[2]; window.jupyterapp.commands.execute(arguments[0], arguments[1]).then(() => done(), () => done())"
        self.driver.execute_async_script(script, name, dict(arguments or {}))

    def run_all(self) -> None:
        """Run all cells; returns when they are over."""
        self.command("notebook:run-all-cells")

    def theme(self, name: str) -> None:
        """Choose ``JupyterLab Light`` or ``JupyterLab Dark``."""
        self.command("apputils:change-theme", {"theme": name})

    def find(self, selector: str) -> WebElement:
        """The first element that fits."""
        return self.until(lambda: next(iter(self.driver.find_elements(By.CSS_SELECTOR, selector)), None), selector)

    def until(self, what: Callable[[], Any], told: str) -> Any:
        """Wait until something is so; fail with what is on the page if it never is."""

        def looked(_: object) -> Any:
            try:
                return what()
            except StaleElementReferenceException:
                return False

        try:
            return WebDriverWait(self.driver, PATIENCE, poll_frequency=0.1).until(looked)
        except WebDriverException:
            body = self.driver.find_element(By.TAG_NAME, "body").text
            pytest.fail(f"never came about: {told}; the page says:\n{body[-3000:]}")

    def text(self, selector: str) -> str:
        """What an element says; empty if there is none."""
        script = "const one = document.querySelector(arguments[0]); return one === null ? '' : one.textContent"
        return str(self.driver.execute_script(script, selector))


_READY = """
const shell = window.jupyterapp.shell;
const panel = Array.from(shell.widgets('main')).find((one) => one.sessionContext !== undefined);
if (panel === undefined) { return false; }
shell.activateById(panel.id);
const session = panel.sessionContext.session;
return Boolean(session && session.kernel && session.kernel.status === 'idle' && shell.currentWidget === panel);
"""


@contextmanager
def opened(folder: Path, cells: Sequence[str]) -> Iterator[Page]:
    """A notebook of these cells, open in JupyterLab; nothing has run yet."""
    path = written(folder, cells)
    with server(folder) as address, browser(folder / ".private" / "profile") as driver:
        yield Page(driver, address, path.name)
