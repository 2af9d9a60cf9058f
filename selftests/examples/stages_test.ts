/** Guest and host take turns: each GUEST_SYNC is a stage that the host waits for and answers through shared memory. */
import { shared, test, u64 } from '#harness'

const desk = shared('desk', { question: u64, answer: u64 })

test('the_host_answers_every_question', async t => {
  const td = t.td({
    guest(g) {
      const { question, answer } = desk.in(g)
      g.repeat(5n, i => {
        question.set(i)
        g.sync(i)
        g.assert.eq(answer.get(), i.mul(i))
      })
      g.done()
    },
  })

  for (let n = 0n; n < 5n; n++) {
    const { stage } = await td.vcpu.until('UCALL_SYNC')
    t.assert.eq(stage, n)
    const { question } = desk.of(td)
    desk.of(td).answer = question * question
  }
  await td.vcpu.until('UCALL_DONE')
})
