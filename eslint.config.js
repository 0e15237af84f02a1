'use strict'

const neostandard = require('neostandard')

module.exports = [
  ...neostandard({
    ts: true,
    filesTs: ['**/*.cts', '**/*.mts'],
    ignores: neostandard.resolveIgnoresFromGitignore()
  }),
  {
    files: ['**/*.ts', '**/*.cts'],
    rules: {
      // The compiler checks this, and knows that a value and a namespace of types may share a name.
      '@typescript-eslint/no-redeclare': 'off',
      // `for await (const _ of ticks)`
      '@typescript-eslint/no-unused-vars': ['error', { args: 'none', ignoreRestSiblings: true, varsIgnorePattern: '^_$' }]
    }
  },
  {
    files: ['plugin/**/*.ts'],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      // `void promise` is how the rule above is told that a promise is left on purpose.
      'no-void': ['error', { allowAsStatement: true }]
    }
  }
]
