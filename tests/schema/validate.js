// SPDX-License-Identifier: Apache-2.0
// node validate.js SCHEMA FILE...: for each file one line, "valid" or what ajv says against it.
// Ajv's strict mode refuses a schema that has a keyword it does not know.
'use strict'
const fs = require('fs')
const Ajv = require('ajv')

const [schemaFile, ...files] = process.argv.slice(2)
const read = (file) => JSON.parse(fs.readFileSync(file, 'utf8'))
const ajv = new Ajv({ strict: true, strictTypes: false, strictRequired: false })
const schema = read(schemaFile)
if (!ajv.validateSchema(schema)) {
  console.error(ajv.errorsText())
  process.exit(1)
}
const validate = ajv.compile(schema)
for (const file of files) {
  console.log(validate(read(file)) ? 'valid' : ajv.errorsText(validate.errors, { dataVar: '' }))
}
