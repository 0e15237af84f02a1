import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'

const root = resolve(__dirname, '..')
const consumers = join(__dirname, 'consumers')
const modules = join(root, 'node_modules')
// What else the snippets of the documents import.
const documented = ['@fastify/type-provider-typebox', 'typebox']
const notSource = ['.git', '.tap', 'dist', 'node_modules']

// Without what the test runner hands down, these are the processes a user starts.
const env = { PATH: process.env['PATH'], HOME: process.env['HOME'] }
const run = async (cwd: string, file: string, ...args: string[]) => {
  try {
    return (await promisify(execFile)(file, args, { cwd, env })).stdout
  } catch (error) {
    const { message, stdout, stderr } = error as Error & { stdout: string, stderr: string }
    throw new Error([message, stdout, stderr].join('\n'))
  }
}
const node = (cwd: string, ...args: string[]) => run(cwd, process.execPath, ...args)

// Builds, starts and type-checks real programs: slow where coverage watches them all.
t.setTimeout(400_000)

t.test('the packed package', async t => {
  const dir = await mkdtemp(join(tmpdir(), 'fastify-event-stream-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  const installed = join(dir, 'node_modules', 'fastify-event-stream')

  // Packed from a copy, so that its build neither needs nor touches dist.
  const copy = join(dir, 'source')
  await cp(root, copy, { recursive: true, filter: path => !notSource.includes(basename(path)) })
  await symlink(modules, join(copy, 'node_modules'))
  await run(copy, 'npm', 'pack', '--silent', '--pack-destination', dir)
  const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  await mkdir(installed, { recursive: true })
  await run(dir, 'tar', '-xzf', `${manifest.name}-${manifest.version}.tgz`, '--strip-components=1', '-C', installed)

  // Only what the package declares is within its reach.
  for (const name of ['@types/node', ...documented, ...Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })]) {
    const link = join(dir, 'node_modules', name)
    await mkdir(resolve(link, '..'), { recursive: true })
    await symlink(join(modules, name), link)
  }

  await t.test('holds the build and the documents, nothing else', async t => {
    t.strictSame((await readdir(installed)).sort(), ['CHANGELOG.md', 'LICENSE', 'README.md', 'dist', 'docs', 'package.json'])
    const odd = (await readdir(join(installed, 'dist'), { recursive: true, withFileTypes: true }))
      .filter(entry => entry.isFile() && !/\.(?:js|d\.ts)$/.test(entry.name))
    t.strictSame(odd, [])
  })

  await cp(join(consumers, 'runtime'), join(dir, 'runtime'), { recursive: true })
  for (const [file, title] of Object.entries({
    'require.cjs': 'serves a stream to a CommonJS program that takes all of require',
    'require-named.cjs': 'serves a stream to a CommonJS program that takes a name from require',
    'import-default.mjs': 'serves a stream to an ES module with a default import',
    'import-named.mjs': 'serves a stream to an ES module with a named import',
    'import-namespace.mjs': 'serves a stream to an ES module that imports everything under one name'
  })) {
    await t.test(title, async () => { await node(dir, join('runtime', file)) })
  }

  const tsc = join(modules, 'typescript', 'bin', 'tsc')
  const check = async (project: string, compilerOptions: object) => {
    const options = { target: 'ES2022', strict: true, noEmit: true, declaration: true, skipLibCheck: true, types: ['node'], ...compilerOptions }
    await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions: options }))
    await node(project, tsc)
  }
  const compile = async (t: Test, compilerOptions: object, ...extensions: string[]) => {
    const project = join(dir, t.name.replace(/\W+/g, '-'))
    await mkdir(project)
    for (const file of await readdir(join(consumers, 'types'))) {
      const [name, own] = file.split('.')
      for (const extension of own === 'ts' ? extensions : extensions.filter(other => other === own)) {
        await cp(join(consumers, 'types', file), join(project, `${name}.${extension}`))
      }
    }
    await check(project, compilerOptions)
  }
  await t.test('type-checks in CommonJS and ES modules under node16', t => compile(t, { module: 'node16' }, 'cts', 'mts'))
  await t.test('type-checks in CommonJS and ES modules under nodenext', t => compile(t, { module: 'nodenext', skipLibCheck: false }, 'cts', 'mts'))
  await t.test('type-checks for a bundler', t => compile(t, { module: 'esnext', moduleResolution: 'bundler' }, 'ts'))

  await t.test('type-checks in the snippets of its documents', async t => {
    const project = join(dir, 'documents')
    await mkdir(project)
    let count = 0
    for (const file of ['README.md', ...(await readdir(join(root, 'docs'))).filter(name => name.endsWith('.md')).map(name => join('docs', name))]) {
      for (const [, code = ''] of (await readFile(join(root, file), 'utf8')).matchAll(/```ts\n(.*?)```/gs)) {
        await writeFile(join(project, `${++count}.mts`), `${elsewhere(code)}\n// ${file}\n${code}`)
      }
    }
    t.ok(count >= 5, `${count} snippets`)
    await check(project, { module: 'nodenext' })
  })
})

/** What the reader of a snippet has already. */
function elsewhere (code: string): string {
  const app = /withTypeProvider/.test(code) ? '' : 'const app = fastify()\nawait app.register(ssePlugin)'
  return `import fastify from 'fastify'
import ssePlugin from 'fastify-event-stream'
${app}
declare function quotes (symbol: string, signal: AbortSignal): AsyncIterable<{ bid: number, ask: number }>`
}

t.test('the lockfile names no place to download from', async t => {
  t.notMatch(await readFile(join(root, 'package-lock.json'), 'utf8'), /"resolved":/)
})
