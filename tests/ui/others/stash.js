/** A real Stash in a browser. `faults`: the errors of its pages. */
import { chromium } from "playwright-core";

export class RealStash {
  constructor() {
    this.faults = [];
  }

  async start() {
    this.browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
    this.page = await this.browser.newPage({ viewport: { width: 1400, height: 900 } });
    this.page.setDefaultTimeout(60000);
    this.page.on("pageerror", (error) => this.faults.push(error.message));
  }

  close() {
    return this.browser?.close();
  }

  /** Open an address of Stash, and close what a new version of Stash has to say. */
  async open(path) {
    await this.page.goto(`${process.env.PAGES}${path}`);
    await this.page.waitForSelector(".haven-nav", { state: "attached" });
    const news = this.page.locator(".modal-footer button").first();
    const hasNews = !this.isKnown && (await news.waitFor({ timeout: 5000 }).then(() => true, () => false));
    if (hasNews) await news.click();
    this.isKnown = true;
    return this.page;
  }
}
