/** The browser of a file of tests, and its page. */
import { chromium } from "playwright-core";

const VIEWPORT = { width: 1200, height: 900 };

/**
 * A browser with one page for all tests of a file: starting a page takes longer than most tests.
 * The page is a window without tabs and an address bar, and nothing fades in it: what else a browser
 * draws while a page loads takes as long as the page.
 * `faults`: the errors of the page and of its console since the test began.
 */
export class Visitor {
  static async start() {
    const browser = await chromium.launchPersistentContext("", {
      executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--app=data:,"], viewport: VIEWPORT, reducedMotion: "reduce",
    });
    const [page] = browser.pages();
    await page.goto("about:blank");
    return new Visitor(browser, page);
  }

  constructor(browser, page) {
    this.browser = browser;
    this.page = page;
    this.faults = [];
    page.setDefaultTimeout(30000);
    page.on("pageerror", (error) => this.faults.push(error.message));
    page.on("console", (message) => message.type() === "error" && this.faults.push(message.text()));
  }

  /** Leave the page, as a person who closes it, and forget what it kept. What waits is sent. */
  async leave() {
    if (this.page.url() !== "about:blank") await this.page.evaluate(() => sessionStorage.clear());
    await this.page.goto("about:blank");
    await this.page.setViewportSize(VIEWPORT);
    this.faults.length = 0;
  }
}
