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

  /** Open an address of Stash. */
  async open(path) {
    await this.page.goto(`${process.env.PAGES}${path}`);
    await this.page.waitForSelector(".haven-nav", { state: "attached" });
    return this.page;
  }
}
