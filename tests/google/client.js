// SPDX-License-Identifier: Apache-2.0
// node client.js ORIGIN PROJECT VERB [WORD...]: Google's own clients at a fake Google; prints JSON.
//
//   objects BUCKET              every object: its resource, and the SHA-256 of the bytes that were read
//   store BUCKET NAME FILE resumable|simple      its resource
//   rows DATASET TABLE          every row
//   load DATASET TABLE FILE     NDJSON, as a load job with the id that is in JOB; the job
//   insert DATASET TABLE FILE   NDJSON, by insertAll
//
// With TOKEN that is the token; without it the clients look for credentials as they do.
'use strict';
const { Storage } = require('@google-cloud/storage');
const { BigQuery } = require('@google-cloud/bigquery');
const { createHash } = require('crypto');
const { readFileSync } = require('fs');

const [apiEndpoint, projectId, verb, ...words] = process.argv.slice(2);

// What an authClient is to both of them.
function bearer(token) {
    const headers = { Authorization: 'Bearer ' + token };

    return {
        getRequestHeaders: async () => headers,
        getAccessToken: async () => ({ token }),
        request: async () => { throw new Error('not asked for'); },
        getProjectId: async () => projectId,
    };
}

// Without it BigQuery's client sends no token to an endpoint that is not Google's.
function options() {
    const all = { apiEndpoint, projectId, useAuthWithCustomEndpoint: true };

    return process.env.TOKEN ? Object.assign(all, { authClient: bearer(process.env.TOKEN) }) : all;
}

async function objects(bucket) {
    const [files] = await new Storage(options()).bucket(bucket).getFiles();
    const found = [];

    for (const file of files) {
        const [bytes] = await file.download({ validation: 'crc32c' });
        const [resource] = await file.getMetadata();

        found.push(Object.assign({}, resource,
            { sha256: createHash('sha256').update(bytes).digest('hex') }));
    }
    return found;
}

async function store(bucket, name, path, way) {
    const [file] = await new Storage(options()).bucket(bucket).upload(path, {
        destination: name, resumable: way === 'resumable', chunkSize: 512 * 1024,
        preconditionOpts: { ifGenerationMatch: 0 }, metadata: { metadata: { by: 'client' } },
    });

    return file.metadata;
}

function table(dataset, name) {
    return new BigQuery(options()).dataset(dataset).table(name);
}

async function rows(dataset, name) {
    return (await table(dataset, name).getRows())[0];
}

async function load(dataset, name, path) {
    const [job] = await table(dataset, name).load(path, {
        jobId: process.env.JOB, sourceFormat: 'NEWLINE_DELIMITED_JSON',
        writeDisposition: 'WRITE_APPEND', createDisposition: 'CREATE_NEVER',
    });

    return job;
}

async function insert(dataset, name, path) {
    const lines = readFileSync(path, 'utf8').split('\n').filter(Boolean).map(JSON.parse);

    return (await table(dataset, name).insert(lines))[0];
}

({ objects, store, rows, load, insert })[verb](...words)
    .then(value => process.stdout.write(JSON.stringify(value)))
    .catch(error => {
        process.stderr.write(String(error) + ' ' + JSON.stringify(error.errors) + '\n');
        process.exit(1);
    });
