// A test of a handler without a server: `node --test 06_test_without_server.mjs`. It calls only the function; retries need Redis.
import assert from 'node:assert';
import test from 'node:test';

async function sendEmail(job) {
  if (job.attemptsStarted === 1) throw new Error('the mail server is busy');
  return `sent to ${job.data.to}`;
}

test('a busy server fails the attempt, the next one sends', async () => {
  await assert.rejects(sendEmail({ data: { to: 'ada' }, attemptsStarted: 1 }));
  assert.equal(await sendEmail({ data: { to: 'ada' }, attemptsStarted: 2 }), 'sent to ada');
});
