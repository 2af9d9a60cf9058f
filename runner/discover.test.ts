import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { discover } from './discover.ts'

const found = (cwd: string, ...paths: string[]) =>
  discover(cwd, paths).map(({ kind, file, collection, name }) => `${kind} ${file} ${collection}: ${name}`)

t.test('selftests/ is the default; a collection is the directory under it', async t => {
  const cwd = t.testdir({
    selftests: {
      'b_test.ts': '',
      'a_test.ts': '',
      'util.ts': '',
      tdx: { deep: { 'c_test.mts': '' } },
      node_modules: { 'd_test.ts': '' },
    },
  })
  t.same(found(cwd), [
    'selftest selftests/a_test.ts seamless: a_test.ts',
    'selftest selftests/b_test.ts seamless: b_test.ts',
    'selftest selftests/tdx/deep/c_test.mts tdx/deep: c_test.mts',
  ])
  t.same(found(cwd, 'selftests/tdx', 'selftests/tdx/deep/c_test.mts').length, 1, 'a file named twice runs once')
})

t.test('a program with its execute bit is a kselftest too', async t => {
  const cwd = t.testdir({ selftests: { kvm: { smm_test: '#!/bin/sh\n', plain: '' } } })
  chmodSync(join(cwd, 'selftests/kvm/smm_test'), 0o755)
  t.same(found(cwd, 'selftests/kvm/smm_test'), ['executable selftests/kvm/smm_test kvm: smm_test'])
  t.throws(() => found(cwd, 'selftests/kvm/plain'), { message: /^selftests\/kvm\/plain: neither a test module/ })
})

t.test('what is not there is named, with what is', async t => {
  const cwd = t.testdir({ selftests: { 'port_io_test.ts': '' }, empty: {} })
  t.throws(() => found(cwd, 'selftests/port_io.ts'), {
    message: 'selftests/port_io.ts: no such file or directory (did you mean selftests/port_io_test.ts?)',
  })
  t.throws(() => found(cwd, 'empty'), { message: 'empty: holds no *_test.ts' })
  t.throws(() => found(join(cwd, 'empty')), { message: /^no selftests\/ here/ })
})
