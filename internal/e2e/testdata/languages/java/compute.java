import java.util.stream.IntStream;

public class Main {
    static boolean prime(int n) {
        for (int d = 2; d * d <= n; d++) {
            if (n % d == 0) {
                return false;
            }
        }
        return true;
    }

    public static void main(String[] args) {
        int below = 4000000;
        System.out.println(below + " " + IntStream.range(2, below).filter(Main::prime).count());
    }
}
