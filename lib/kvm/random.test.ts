import t from 'tap'
import { fuzzIoctls } from './fuzz.ts'

t.test('random ioctls with random structures leave the machine consistent', async t => {
  const { calls, answers, done, wrong } = fuzzIoctls(3, 12_000)
  t.same(wrong, [])
  t.equal(calls, 12_000)
  for (const name of ['ok', 'EINVAL', 'EFAULT', 'ENOTTY', 'EINTR', 'EIO', 'EEXIST', 'EBADF', 'NotModelled'])
    t.ok(answers.get(name), name)
  t.ok(done.size > 40, `${done.size} different requests were done`)
})

t.test('the same seed meets the same', async t => {
  t.same([...fuzzIoctls(7, 2000).answers], [...fuzzIoctls(7, 2000).answers])
})
