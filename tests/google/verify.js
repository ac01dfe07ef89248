// SPDX-License-Identifier: Apache-2.0
// node verify.js: {"assertion", "public_key", "audience"} on standard input; prints what jose says of
// that JWT, {"payload", "protectedHeader"}.
'use strict';
const { importSPKI, jwtVerify } = require('jose');
const { readFileSync } = require('fs');

async function main() {
    const asked = JSON.parse(readFileSync(0, 'utf8'));
    const key = await importSPKI(asked.public_key, 'RS256');
    const { payload, protectedHeader } = await jwtVerify(asked.assertion, key, {
        algorithms: ['RS256'], audience: asked.audience, maxTokenAge: '1h',
    });

    process.stdout.write(JSON.stringify({ payload, protectedHeader }));
}

main().catch(error => { process.stderr.write(String(error) + '\n'); process.exit(1); });
