/** Test vectors, loaded when they are asked for: no run of a guest needs them. */
export type { VectorResult } from './vectors.ts'
export const vectors = () => import('./vectors.ts')
