/** A decimal in text without the zeros at its end, but for two: for eyes, and still never a float. */
export function amount(text: string): string {
  return text.replace(/(\.\d\d\d*?)0+$/, "$1");
}
