/** A worker process that loads the harness from its sources. */
import { serve } from './serve.ts'

serve(import(process.env['SEAMLESS_HARNESS'] ?? '#harness') as Promise<typeof import('#harness')>)
