// SPDX-License-Identifier: Apache-2.0
// node look.js CHROMIUM FILE: opens the file and prints, as JSON, what a person would see there, which
// requests it made, and what its scripts would have done.
'use strict';
const { chromium } = require('playwright-core');
const { pathToFileURL } = require('url');

async function visible(page) {
    return page.$$eval('table.elements tr[class]', rows =>
        rows.filter(row => row.offsetParent !== null).map(row => row.className));
}

async function look(browser, file) {
    const page = await (await browser.newContext()).newPage();
    const requests = [], errors = [], dialogs = [], answer = { filters: {} };

    page.on('request', request => requests.push(request.url()));
    page.on('pageerror', error => errors.push(String(error)));
    page.on('console', message => errors.push(message.text()));
    page.on('dialog', dialog => { dialogs.push(dialog.message()); dialog.dismiss(); });
    await page.goto(pathToFileURL(file).href);
    answer.title = await page.title();
    answer.all = await visible(page);
    for (const name of ['changed', 'removed', 'added', 'kept']) {
        await page.uncheck('#f-' + name);
        answer.filters[name] = await visible(page);
        await page.check('#f-' + name);
    }
    answer.again = (await visible(page)).length;
    answer.text = await page.evaluate(() => document.body.innerText);
    answer.cells = await page.$$eval('td', cells => cells.map(cell => cell.textContent));
    answer.elements = await page.$$eval('*', all => [...new Set(all.map(e => e.tagName))].sort());
    answer.attributes = await page.$$eval('*', all =>
        [...new Set(all.flatMap(e => [...e.attributes].map(a => a.name)))].sort());
    return Object.assign(answer, { requests, errors, dialogs });
}

async function main() {
    const browser = await chromium.launch({
        executablePath: process.argv[2],
        args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
    });

    try {
        process.stdout.write(JSON.stringify(await look(browser, process.argv[3])));
    } finally {
        await browser.close();
    }
}

main().catch(error => { process.stderr.write(String(error) + '\n'); process.exit(1); });
